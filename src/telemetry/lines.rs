//! Lines of the log on their way to standard error.
//!
//! A thread of its own writes them. Whoever reads standard error may stop
//! reading, and then a write waits for ever; or may be gone, and then it fails.
//! Neither is a matter of calls: who logs leaves the line here and goes on. What
//! there is no room for is lost, counted, and told of.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// How much may wait to be written: some thousand lines.
const MOST_BYTES: usize = 1024 * 1024;

/// Takes lines of the log. Every clone takes them to the same place.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something waits.
    came: Condvar,
    /// Nothing waits, and nothing is being written.
    all_written: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Lines, one behind the other.
    bytes: Vec<u8>,
    /// Lines that there was no room for.
    lost: u64,
    /// Whether lines that waited are being written.
    writing: bool,
}

impl Lines {
    /// Lines go to standard error from now on.
    ///
    /// # Errors
    /// That there is no thread to be had.
    pub fn to_standard_error() -> io::Result<Self> {
        Self::to(io::stderr())
    }

    fn to(output: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let lines = Self(shared.clone());
        let thread = thread::Builder::new().name("log".into());
        thread.spawn(move || shared.write_to(output))?;
        Ok(lines)
    }

    /// Takes a line, which has its line end.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.bytes.len() + line.len() > MOST_BYTES {
            waiting.lost += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
            self.0.came.notify_one();
        }
    }

    /// Waits until all that was taken is written, for so long at most.
    pub fn flush(&self, at_most: Duration) {
        let is_on_its_way = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let written = &self.0.all_written;
        // The answer is whether it took too long: nothing can be done then.
        let _ = written.wait_timeout_while(self.0.lock(), at_most, is_on_its_way);
    }
}

impl Shared {
    /// Writes what comes, for ever.
    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let lost = self.take(&mut batch);
            if lost > 0 {
                // Now that there is room, and behind what came before them.
                warn!(
                    lines = lost,
                    "the log lost lines: they were not read in time"
                );
            }
            // Where nobody can read it, there is nobody to be told.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            let mut waiting = self.lock();
            waiting.writing = false;
            if waiting.bytes.is_empty() {
                self.all_written.notify_all();
            }
        }
    }

    /// Waits for lines and takes them all; how many were lost behind them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut waiting = self.lock();
        while waiting.bytes.is_empty() {
            waiting = self
                .came
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writing = true;
        std::mem::swap(&mut waiting.bytes, batch);
        std::mem::take(&mut waiting.lost)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line, which `tracing_subscriber` writes in one piece. Never fails.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn line(number: usize) -> String {
        format!("{number:>99}\n")
    }

    #[test]
    fn lines_come_out_in_their_order_and_a_flush_waits_for_the_last() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer).unwrap();
        let expected: Vec<_> = (0..500).map(line).collect();
        for line in &expected {
            lines.push(line.as_bytes());
        }
        lines.flush(SOON);
        // All of it is in the pipe, which holds 64 KiB: nobody reads meanwhile.
        let mut reader = BufReader::new(reader);
        for line in expected {
            let mut read = String::new();
            reader.read_line(&mut read).unwrap();
            assert_eq!(read, line);
        }
    }

    #[test]
    fn where_nobody_reads_lines_are_lost_and_nobody_waits() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Lines::to(writer).unwrap();
        const COUNT: usize = 60_000;
        let started = Instant::now();
        for number in 0..COUNT {
            lines.push(line(number).as_bytes());
        }
        lines.flush(Duration::from_millis(50));
        assert!(started.elapsed() < Duration::from_secs(5));
        let lost = lines.0.lock().lost;
        assert!(lost > 10_000, "{lost}");
        let mut read = BufReader::new(reader).lines();
        let kept = COUNT - usize::try_from(lost).unwrap();
        for number in 0..kept {
            assert_eq!(read.next().unwrap().unwrap(), line(number).trim_end());
        }
    }

    #[test]
    fn an_output_that_is_gone_ends_nothing() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut lines = Lines::to(writer).unwrap();
        for number in 0..3 {
            lines.write_all(line(number).as_bytes()).unwrap();
            lines.flush(SOON);
        }
        assert!(lines.0.lock().bytes.is_empty());
    }
}
