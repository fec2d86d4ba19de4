//! What a guilty actor does all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

/// Work on a thread of its own, until this is dropped.
///
/// Where threads compete for CPU, this one gives way: it stands for hosts on other machines.
pub struct Load {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    done: Counter,
}

/// How often the work was done.
pub type Counter = Arc<AtomicUsize>;

impl Load {
    /// Starts the work, which counts what it did.
    pub fn start<F: Future<Output = ()>>(work: impl FnOnce(Counter) -> F + Send + 'static) -> Self {
        let (stop, done) = (CancellationToken::new(), Counter::default());
        let (stopped, counter) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            give_way();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(stopped.run_until_cancelled(work(counter)));
            runtime.shutdown_background();
        });
        Self {
            stop,
            thread: Some(thread),
            done,
        }
    }

    /// Returns how often the work was done so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Asserts that it still works: none of it ended or panicked.
    pub fn assert_running(&self) {
        assert!(!self.thread.as_ref().unwrap().is_finished());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().unwrap().join();
    }
}

/// Lowers the priority of this thread, where the machine can.
fn give_way() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(id) = thread.file_name() else { return };
    let mut renice = std::process::Command::new("renice");
    let _ = renice.args(["-n", "10", "-p"]).arg(id).output();
}
