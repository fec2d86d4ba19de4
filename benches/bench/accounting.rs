//! What the kernel says that a process used.

use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

use crate::support::provider::Provider;

/// A process that is watched.
#[derive(Clone, Copy)]
pub struct Process {
    pid: Pid,
}

impl Process {
    /// The process with this id.
    pub fn of(pid: u32) -> Self {
        Self {
            pid: Pid::from_raw(pid as i32),
        }
    }

    /// CPU time that it used so far, all of its threads together.
    pub fn cpu(self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid).unwrap();
        clock.now().unwrap().into()
    }

    /// CPU time since it had used so much, for each of so many, in microseconds.
    pub fn micros_each(self, before: Duration, count: usize) -> f64 {
        (self.cpu() - before).as_secs_f64() * 1e6 / count as f64
    }

    /// Memory that is resident, in bytes.
    pub fn resident(self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }
}

impl From<&Provider> for Process {
    fn from(provider: &Provider) -> Self {
        Self::of(provider.pid())
    }
}
