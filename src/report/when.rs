//! Times, as an operator counts them.

use std::time::SystemTime;

/// "3 min ago": what an operator counts in.
pub fn ago(time: &str) -> Option<String> {
    let then = humantime::parse_rfc3339(time).ok()?;
    let seconds = SystemTime::now().duration_since(then).ok()?.as_secs();
    Some(match seconds {
        0..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    })
}

/// A run's own time has microseconds, which nobody reads.
pub fn seconds(time: &str) -> String {
    time.split('.').next().unwrap_or(time).trim_end_matches('Z').replace('T', " ")
}

pub fn when(time: &str) -> String {
    match ago(time) {
        Some(ago) => format!("{ago} ({} UTC)", seconds(time)),
        None => time.to_string(),
    }
}
