//! Writes the lines of the log to standard error, in a thread of its own.
//!
//! A write to standard error waits for ever when its reader stops reading, and fails
//! when the reader is gone. Calls must not wait for that: logging puts a line into a
//! buffer and goes on. A line that finds the buffer full is lost; lost lines are
//! counted, and the log says how many there were.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// The size of the buffer: some thousand lines.
const MOST_BYTES: usize = 1024 * 1024;

/// The buffer of lines. Clones share it.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Wakes the thread when a line waits.
    came: Condvar,
    /// Wakes [`Lines::flush`] when no line waits or is being written.
    all_written: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The lines, one behind the other.
    bytes: Vec<u8>,
    /// How many lines were lost since the last ones were written.
    lost: u64,
    /// Whether the thread is writing lines that it took.
    writing: bool,
}

impl Lines {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// That the thread cannot be started.
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

    /// Adds a line, which must end with a line end.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.bytes.len() + line.len() > MOST_BYTES {
            waiting.lost += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
            self.0.came.notify_one();
        }
    }

    /// Waits until every line is written, at most for this time.
    pub fn flush(&self, at_most: Duration) {
        let is_on_its_way = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let written = &self.0.all_written;
        // Whether it took too long does not matter: nothing can be done about it.
        let _ = written.wait_timeout_while(self.0.lock(), at_most, is_on_its_way);
    }
}

impl Shared {
    /// Writes lines as they come, for ever.
    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let lost = self.take(&mut batch);
            if lost > 0 {
                // There is room now, and the lines before them are in the batch.
                warn!(
                    lines = lost,
                    "the log lost lines: they were not read in time"
                );
            }
            // Where standard error is gone, an error cannot be reported either.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            let mut waiting = self.lock();
            waiting.writing = false;
            if waiting.bytes.is_empty() {
                self.all_written.notify_all();
            }
        }
    }

    /// Waits for lines and moves them all into the batch. Returns how many were lost.
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

/// `tracing_subscriber` writes each line with one call. Never fails.
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
