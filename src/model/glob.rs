//! Names with stars.

/// `*` stands for any characters.
pub fn glob(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*') {
        // The first place where it fits leaves most to what follows.
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(
            glob("eth*", "eth0") && glob("*", "x") && glob("e*0", "eth0") && glob("eth0", "eth0")
        );
        assert!(!glob("eth*", "wlan0") && !glob("e*1", "eth0"));
        assert!(glob("*", "") && glob("a*b*c", "abbc") && glob("*a*a", "aa") && glob("**é*", "xé"));
        assert!(!glob("a*a", "a") && !glob("*a*a", "a") && !glob("a*b*c", "acb") && !glob("", "a"));
        let (pattern, name) = ("a*".repeat(50_000), "a".repeat(60_000));
        assert!(glob(&pattern, &name) && !glob(&format!("{pattern}b"), &name));
    }
}
