//! What a person at a terminal sees while something takes its time: one line on standard error that says what is waited
//! for and since when, gone when it is over. Nothing is printed where standard error is no terminal.

use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is over sooner says nothing.
const QUIET: Duration = Duration::from_millis(700);
const BEAT: Duration = Duration::from_millis(200);

struct Shown {
    /// Of waits within waits the innermost is shown.
    texts: Vec<String>,
    thread: Option<JoinHandle<()>>,
}

static SHOWN: Mutex<Shown> = Mutex::new(Shown { texts: Vec::new(), thread: None });

fn shown() -> MutexGuard<'static, Shown> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It is waited for until this is dropped.
#[must_use]
pub struct Waiting(bool);

pub fn on(what: impl FnOnce() -> String) -> Waiting {
    if !stderr().is_terminal() {
        return Waiting(false);
    }
    let mut shown = shown();
    shown.texts.push(what());
    if shown.texts.len() == 1 {
        shown.thread = Some(std::thread::spawn(show));
    }
    Waiting(true)
}

/// For as long as `what` takes.
pub fn during<T>(said: impl FnOnce() -> String, what: impl FnOnce() -> T) -> T {
    let _waiting = on(said);
    what()
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.0 {
            return;
        }
        let mut shown = shown();
        shown.texts.pop();
        let thread = if shown.texts.is_empty() { shown.thread.take() } else { None };
        // The thread looks at what is shown as well.
        drop(shown);
        if let Some(thread) = thread {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn show() {
    let start = Instant::now();
    let (mut rest, mut any) = (QUIET, false);
    loop {
        std::thread::park_timeout(rest);
        let Some(text) = shown().texts.last().cloned() else { break };
        rest = QUIET.saturating_sub(start.elapsed());
        if rest.is_zero() {
            let stopping = if crate::stop::asked() { "stopping: " } else { "" };
            line(&format!("{stopping}{text} ({} s)", start.elapsed().as_secs()));
            (rest, any) = (BEAT, true);
        }
    }
    if any {
        line("");
    }
}

/// In place of the one before, within the terminal's width. A link's name may hold any byte.
pub fn line(text: &str) {
    let columns = terminal_size::terminal_size_of(stderr()).map_or(80, |(w, _)| usize::from(w.0));
    let text = text.chars().filter(|c| !c.is_control()).take(columns.saturating_sub(1));
    let mut out = stderr().lock();
    let _ = write!(out, "\r\x1b[K{}", text.collect::<String>());
    let _ = out.flush();
}
