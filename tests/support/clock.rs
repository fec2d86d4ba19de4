//! A provider whose wall clock a test sets.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use data_encoding::BASE64;
use tempfile::TempDir;

use super::nats::NatsServer;
use super::provider::{Identity, Provider};
use super::world::World;

/// Takes the place of the C library's function: the time of day is so many seconds ahead as
/// the file says.
const LIBRARY: &str = r#"
    #include <fcntl.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    static volatile long *ahead;

    __attribute__((constructor)) static void begin(void) {
        int file = open(getenv("CLOCK_FILE"), O_RDONLY);
        void *mapped = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED) ahead = mapped;
    }

    int clock_gettime(clockid_t clock, struct timespec *now) {
        int failed = syscall(SYS_clock_gettime, clock, now);
        if (!failed && clock == CLOCK_REALTIME && ahead) now->tv_sec += *ahead;
        return failed;
    }
"#;

/// The wall clock of one provider.
pub struct WallClock {
    ahead: File,
    dir: TempDir,
}

impl WallClock {
    /// Makes a clock that is so many seconds ahead.
    pub fn ahead(seconds: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ahead = File::create(dir.path().join("ahead")).unwrap();
        let clock = Self { ahead, dir };
        clock.set_ahead(seconds);
        clock
    }

    /// Sets it.
    pub fn set_ahead(&self, seconds: i64) {
        let seconds = seconds.to_ne_bytes();
        self.ahead.write_all_at(&seconds, 0).unwrap();
    }

    /// Starts a provider that has this clock, with all that it needs around it.
    pub async fn world(&self) -> World {
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        let (source, library) = (path("clock.c"), path("clock.so"));
        std::fs::write(&source, LIBRARY).unwrap();
        let compiled = Command::new("cc")
            .args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o", &library, &source])
            .status();
        assert!(compiled.unwrap().success());
        let (nats, identity) = (NatsServer::start(), Identity::new());
        let host_data = identity.host_data(&nats.url()).to_string();
        let line = format!("{}\r\n", BASE64.encode(host_data.as_bytes()));
        let env = [("LD_PRELOAD", &*library), ("CLOCK_FILE", &path("ahead"))];
        World::around(Provider::start_with(&line, &env), identity, nats).await
    }
}
