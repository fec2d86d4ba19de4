//! CPU time, as the kernel counts it.

use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

use crate::support::provider::Provider;

/// A process whose CPU time is read.
#[derive(Clone, Copy)]
pub struct Process {
    pid: Pid,
}

impl Process {
    /// Watches the process with this id.
    pub fn of(pid: u32) -> Self {
        Self {
            pid: Pid::from_raw(pid as i32),
        }
    }

    /// Returns the CPU time that all of its threads have used so far.
    pub fn cpu(self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid).unwrap();
        clock.now().unwrap().into()
    }
}

/// Returns CPU time for each of so many, in microseconds.
pub fn micros_each(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

impl From<&Provider> for Process {
    fn from(provider: &Provider) -> Self {
        Self::of(provider.pid())
    }
}
