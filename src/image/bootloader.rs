//! Kernel arguments, in whatever the image keeps them: each place understood or named as not understood.

use anyhow::Result;

use crate::linux::root::{Root, is_absent};

/// What is to be written, and what the builder must do or know.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Path and new content; nothing is said of mode and owner, which stay.
    pub edits: Vec<(String, String)>,
    pub notes: Vec<String>,
}

const ENTRIES: [&str; 3] = ["boot/loader/entries", "efi/loader/entries", "boot/efi/loader/entries"];
/// Boot loaders whose files nobody here edits.
const OTHERS: [(&str, &str); 8] = [
    ("boot/extlinux/extlinux.conf", "extlinux"),
    ("boot/syslinux/syslinux.cfg", "syslinux"),
    ("etc/lilo.conf", "LILO"),
    ("etc/zipl.conf", "zipl"),
    ("boot/boot.scr", "U-Boot"),
    ("boot/firmware/cmdline.txt", "the Raspberry Pi's firmware"),
    ("boot/cmdline.txt", "the Raspberry Pi's firmware"),
    ("boot/refind_linux.conf", "rEFInd"),
];
const UNIFIED: [&str; 3] = ["efi/EFI/Linux", "boot/efi/EFI/Linux", "boot/EFI/Linux"];

/// Adds `key=value` wherever the image's boot loaders take arguments from.
pub fn add(root: &Root, key: &str, value: &str) -> Result<Arguments> {
    let argument = format!("{key}={value}");
    let mut out = Arguments::default();
    let known = [
        grub(root, key, &argument, &mut out),
        entries(root, key, &argument, &mut out),
        kernel_install(root, key, &argument, &mut out),
    ];
    let mut unknown = false;
    for (path, name) in OTHERS.iter().filter(|(path, _)| root.exists(path)) {
        unknown = true;
        out.notes.push(format!("/{path}: {name} is not understood: add {argument} there yourself"));
    }
    for folder in UNIFIED {
        for name in root.list(folder).unwrap_or_default().iter().filter(|n| n.ends_with(".efi")) {
            unknown = true;
            out.notes.push(format!(
                "/{folder}/{name}: the arguments of a unified kernel image are signed into it: build it with {argument}"
            ));
        }
    }
    if !unknown && !known.contains(&true) {
        out.notes.push(format!(
            "no boot loader that is known: whoever starts the image must pass {argument}"
        ));
    }
    Ok(out)
}

fn has(text: &str, key: &str) -> Option<String> {
    let set = |word: &&str| word.split_once('=').is_some_and(|(k, _)| k == key);
    text.split(|c: char| c.is_whitespace() || "\"'".contains(c)).find(set).map(str::to_string)
}

/// A file that is to be edited, whole or not at all; empty where there is none. What is no plain text
/// is left as it is, and said.
fn text(root: &Root, path: &str, argument: &str, out: &mut Arguments) -> Option<String> {
    let why = match root.bytes(path).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(text),
        Err(e) if is_absent(&e) => return Some(String::new()),
        Ok(Err(_)) => "is no UTF-8 text".to_string(),
        Err(e) => e.to_string(),
    };
    out.notes.push(format!("{path} cannot be read ({why}): add {argument} there yourself"));
    None
}

/// Debian's GRUB reads a folder of files, in which ours stands alone; elsewhere its one file is edited.
fn grub(root: &Root, key: &str, argument: &str, out: &mut Arguments) -> bool {
    let path = "/etc/default/grub";
    let folder = "/etc/default/grub.d";
    let there = root.exists(path) || root.exists(folder);
    if !there {
        return false;
    }
    let mut paths = vec![path.to_string()];
    let names = root.list(folder).unwrap_or_default().into_iter();
    paths.extend(names.filter(|n| n.ends_with(".cfg")).map(|n| format!("{folder}/{n}")));
    let read = paths.iter().map(|path| text(root, path, argument, out));
    let Some(texts) = read.collect::<Option<Vec<String>>>() else { return true };
    let arguments = |text: &String| {
        let line = |l: &&str| {
            l.trim_start().trim_start_matches("export ").starts_with("GRUB_CMDLINE_LINUX")
        };
        text.lines().filter(line).find_map(|l| has(l, key))
    };
    if let Some(set) = texts.iter().find_map(arguments) {
        if set != argument {
            out.notes.push(format!("GRUB's defaults say {set} already, which is left"));
        }
        return true;
    }
    if root.exists(folder) {
        let text = format!("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {argument}\"\n");
        out.edits.push((format!("{folder}/zz-nettune.cfg"), text));
    } else {
        match grub_edited(&texts[0], argument) {
            Some(text) => out.edits.push((path.to_string(), text)),
            None => {
                out.notes.push(format!(
                    "{path}: its GRUB_CMDLINE_LINUX is not understood: add {argument} there yourself"
                ));
                return true;
            }
        }
    }
    for generated in ["boot/grub/grub.cfg", "boot/grub2/grub.cfg"] {
        let text = root.long(generated);
        if text.as_ref().is_err_and(is_absent) {
            continue;
        }
        if !text.is_ok_and(|t| t.contains("blscfg")) {
            out.notes.push(format!(
                "/{generated} is generated from GRUB's defaults: run update-grub or grub2-mkconfig in the image"
            ));
        }
    }
    true
}

/// The last line that sets the arguments decides: they are added inside its quotes.
fn grub_edited(text: &str, argument: &str) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    let sets = |l: &String| l.starts_with("GRUB_CMDLINE_LINUX=");
    let odd = |l: &&String| {
        l.trim_start().trim_start_matches("export ").starts_with("GRUB_CMDLINE_LINUX=")
    };
    let Some(at) = lines.iter().rposition(sets) else {
        // Indented, exported: in a place whose sense nobody here can tell.
        if lines.iter().any(|l| odd(&l)) {
            return None;
        }
        lines.push(format!("GRUB_CMDLINE_LINUX=\"{argument}\""));
        return Some(lines.join("\n") + "\n");
    };
    let value = lines[at].strip_prefix("GRUB_CMDLINE_LINUX=")?.trim_end();
    let quote = value.chars().next().filter(|c| "\"'".contains(*c));
    let inner = match quote {
        Some(q) => value.strip_prefix(q)?.strip_suffix(q).filter(|_| value.len() > 1)?,
        None => value,
    };
    if inner.contains(['\\', '`', '#']) || quote.is_some_and(|q| inner.contains(q)) {
        return None;
    }
    if quote.is_none() && inner.contains(char::is_whitespace) {
        return None;
    }
    let q = quote.unwrap_or('"');
    let joined =
        if inner.is_empty() { argument.to_string() } else { format!("{inner} {argument}") };
    lines[at] = format!("GRUB_CMDLINE_LINUX={q}{joined}{q}");
    let end = if text.ends_with('\n') { "\n" } else { "" };
    Some(lines.join("\n") + end)
}

/// Entries of the Boot Loader Specification: systemd-boot's, and GRUB's where it reads them.
fn entries(root: &Root, key: &str, argument: &str, out: &mut Arguments) -> bool {
    let mut any = false;
    for folder in ENTRIES {
        for name in root.list(folder).unwrap_or_default().iter().filter(|n| n.ends_with(".conf")) {
            any = true;
            let path = format!("/{folder}/{name}");
            let Some(text) = text(root, &path, argument, out) else { continue };
            let options = |l: &&str| l.split_whitespace().next() == Some("options");
            if let Some(set) = text.lines().filter(options).find_map(|l| has(l, key)) {
                if set != argument {
                    out.notes.push(format!("{path} says {set} already, which is left"));
                }
                continue;
            }
            let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
            match lines.iter().rposition(|l| options(&l.as_str())) {
                Some(at) => lines[at] = format!("{} {argument}", lines[at].trim_end()),
                None => lines.push(format!("options {argument}")),
            }
            let end = if text.ends_with('\n') || text.is_empty() { "\n" } else { "" };
            out.edits.push((path, lines.join("\n") + end));
        }
    }
    any
}

/// What kernel-install gives to the entries it will make.
fn kernel_install(root: &Root, key: &str, argument: &str, out: &mut Arguments) -> bool {
    let own = "/etc/kernel/cmdline";
    let Some(path) = [own, "/usr/lib/kernel/cmdline"].into_iter().find(|p| root.exists(p)) else {
        return false;
    };
    let Some(text) = text(root, path, argument, out) else { return true };
    match has(&text, key) {
        Some(set) if set != argument => {
            out.notes.push(format!("kernel-install's arguments say {set} already, which is left"));
        }
        Some(_) => {}
        None => {
            let joined = format!("{} {argument}", text.trim_end());
            let end = if text.ends_with('\n') || text.is_empty() { "\n" } else { "" };
            out.edits.push((own.to_string(), joined.trim_start().to_string() + end));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grubs_defaults() {
        let edited = |text: &str| grub_edited(text, "preempt=none");
        let is = |text: &str| edited(text).unwrap_or_default();
        assert_eq!(is("GRUB_CMDLINE_LINUX=\"\"\n"), "GRUB_CMDLINE_LINUX=\"preempt=none\"\n");
        assert_eq!(
            is("A=1\nGRUB_CMDLINE_LINUX='a b'\nB=2"),
            "A=1\nGRUB_CMDLINE_LINUX='a b preempt=none'\nB=2"
        );
        assert_eq!(is("GRUB_CMDLINE_LINUX=quiet\n"), "GRUB_CMDLINE_LINUX=\"quiet preempt=none\"\n");
        assert_eq!(is("A=1\n"), "A=1\nGRUB_CMDLINE_LINUX=\"preempt=none\"\n");
        assert_eq!(
            is("GRUB_CMDLINE_LINUX=\"a\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX b\"\n"),
            "GRUB_CMDLINE_LINUX=\"a\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX b preempt=none\"\n"
        );
        for text in [
            "GRUB_CMDLINE_LINUX=\"a\n",
            "GRUB_CMDLINE_LINUX=\"\n",
            "GRUB_CMDLINE_LINUX=\"a\" # why\n",
            "  GRUB_CMDLINE_LINUX=\"a\"\n",
            "export GRUB_CMDLINE_LINUX=\"a\"\n",
            "GRUB_CMDLINE_LINUX=\"a\\\"b\"\n",
        ] {
            assert_eq!(edited(text), None, "{text}");
        }
    }
}
