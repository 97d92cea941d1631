//! YAML that others wrote. The parser looks at every bracket that is open for each word that it reads, so
//! a file of brackets alone would keep it for minutes.

use serde::de::{DeserializeOwned, Error as _};
use yaml_serde::Error;

/// Nothing that is configured nests so deep; the parser itself refuses half of it, but only at the end.
const MOST_OPEN: usize = 256;

pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    bounded(text)?;
    yaml_serde::from_slice(text)
}

/// Every document of a stream.
pub fn all<T: DeserializeOwned>(text: &[u8]) -> Result<Vec<T>, Error> {
    bounded(text)?;
    yaml_serde::Deserializer::from_slice(text).map(T::deserialize).collect()
}

fn bounded(text: &[u8]) -> Result<(), Error> {
    let mut open = 0_usize;
    for byte in text {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MOST_OPEN {
            return Err(Error::custom(format!("over {MOST_OPEN} brackets are open")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::Value;

    #[test]
    fn a_file_of_brackets_is_refused_at_once() {
        let read = |text: &str| super::read::<Value>(text.as_bytes());
        let begin = Instant::now();
        for open in ["[", "{a: ", "{\"a\":", "[{", "- ["] {
            let error = read(&open.repeat(100_000)).unwrap_err().to_string();
            assert_eq!(error, "over 256 brackets are open", "{open}");
        }
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert_eq!(read("a: [{b: 1}]").unwrap(), serde_json::json!({"a": [{"b": 1}]}));
        let closed = format!("[{}]", "[],".repeat(1000));
        assert_eq!(read(&closed).unwrap().as_array().map(Vec::len), Some(1000));
    }
}
