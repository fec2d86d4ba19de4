//! A provider that finds names elsewhere than the rest of the machine: it runs in a mount
//! namespace of its own, in which another file lies over one of the machine's.

use std::io::Write as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use tempfile::NamedTempFile;

use super::provider::program;

/// A file that lies over one of the machine's, for the processes started with it.
pub struct Over {
    file: NamedTempFile,
    over: &'static str,
    /// The option with which `unshare` is permitted here.
    option: &'static str,
    /// The socket that keeps silent, where the file names one.
    _silent: Option<UdpSocket>,
}

impl Over {
    /// Lays addresses, in the format of `/etc/hosts`, over that file; `None` where this
    /// machine does not permit it.
    pub fn hosts(lines: &str) -> Option<Self> {
        Self::lay(lines, "/etc/hosts", None)
    }

    /// Has all names that are in no file be asked of a name server that never answers; `None`
    /// where this machine does not permit it.
    pub fn silent_name_server() -> Option<Self> {
        // Tests at the same time have one each.
        let at = |last: u8| UdpSocket::bind((std::net::Ipv4Addr::new(127, 53, 0, last), 53));
        let silent = (1..=200).find_map(|last| at(last).ok());
        let Some(silent) = silent else {
            eprintln!("skipped: a name server needs port 53, which is for root");
            return None;
        };
        let address = silent.local_addr().unwrap().ip();
        let lines = format!("nameserver {address}\noptions timeout:5 attempts:2\n");
        Self::lay(&lines, "/etc/resolv.conf", Some(silent))
    }

    fn lay(lines: &str, over: &'static str, silent: Option<UdpSocket>) -> Option<Self> {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        let mut laid = Self {
            file,
            over,
            // For root, and for users who may have namespaces.
            option: "-m",
            _silent: silent,
        };
        for option in ["-m", "-rm"] {
            laid.option = option;
            let tried = laid.command_of(Path::new("true")).output();
            if tried.is_ok_and(|tried| tried.status.success()) {
                return Some(laid);
            }
        }
        eprintln!("skipped: this machine permits no mount namespaces (unshare -rm)");
        None
    }

    /// Returns a command that becomes the provider, under the id of its own process.
    pub fn provider(&self) -> Command {
        self.command_of(&program())
    }

    fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
        command.args([self.option, "sh", "-c", script]);
        command.arg(self.file.path()).arg(self.over).arg(program);
        command
    }
}
