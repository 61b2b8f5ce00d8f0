//! Lines on their way to standard error.

use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Writes out what has gathered; for the end of the process.
pub fn flush() {
    if let Some(gathered) = GATHERED.get() {
        gathered.write_out(&mut gathered.lock());
    }
}

/// How long a line waits for others: a system call each would cost a request more than all else that is said about it.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes that wait at most.
const GATHER_MOST: usize = 64 * 1024;

static GATHERED: OnceLock<Gathered> = OnceLock::new();

/// Lines on their way to standard error. Warnings and errors do not wait, nor what stands before them.
#[derive(Debug, Default)]
pub struct Gathered {
    lines: Mutex<Vec<u8>>,
    some: Condvar,
}

impl Gathered {
    /// The one of this process, with the thread that empties it.
    pub fn start() -> io::Result<&'static Self> {
        let gathered = GATHERED.get_or_init(Self::default);
        std::thread::Builder::new().name("log".to_owned()).spawn(|| gathered.run())?;
        Ok(gathered)
    }

    /// Adds a line that can wait.
    pub fn add(&self, line: &[u8]) {
        self.append(line, false);
    }

    fn append(&self, line: &[u8], urgent: bool) {
        let mut lines = self.lock();
        if lines.is_empty() {
            self.some.notify_one();
        }
        lines.extend_from_slice(line);
        if urgent || lines.len() >= GATHER_MOST {
            self.write_out(&mut lines);
        }
    }

    fn run(&self) {
        loop {
            let waits = self.some.wait_while(self.lock(), |lines| lines.is_empty());
            drop(waits.unwrap_or_else(PoisonError::into_inner));
            std::thread::sleep(GATHER);
            self.write_out(&mut self.lock());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever wants to add to them waits meanwhile, so that nothing overtakes and a reader that is slow is felt.
    fn write_out(&self, lines: &mut Vec<u8>) {
        // Nobody is left to be told.
        let _written = io::stderr().write_all(lines);
        lines.clear();
        lines.shrink_to(GATHER_MOST);
    }
}

impl<'a> MakeWriter<'a> for &'static Gathered {
    type Writer = Gathering;

    fn make_writer(&'a self) -> Gathering {
        Gathering { gathered: self, urgent: true }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Gathering {
        Gathering { gathered: self, urgent: *meta.level() <= tracing::Level::WARN }
    }
}

pub struct Gathering {
    gathered: &'static Gathered,
    urgent: bool,
}

impl Write for Gathering {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.gathered.append(event, self.urgent);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
