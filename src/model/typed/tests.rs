use std::fmt::Display;
use std::str::FromStr;

use proptest::prelude::*;

use super::file::{File, Meta};
use super::qdisc::{Options, Qdisc};
use super::tuned::{Mode, Profile};
use crate::model::facts::Rss;

fn inverse<T>(value: &T) -> Result<(), TestCaseError>
where
    T: FromStr<Err = String> + Display + PartialEq + std::fmt::Debug,
{
    let text = value.to_string();
    let again = text.parse::<T>().map_err(TestCaseError::fail)?;
    prop_assert_eq!(&again, value);
    prop_assert_eq!(again.to_string(), text);
    Ok(())
}

fn files() -> impl Strategy<Value = File> {
    let meta = || {
        (0u32..=0o7777, any::<u32>(), any::<u32>()).prop_map(|(mode, uid, gid)| Meta {
            mode,
            uid,
            gid,
        })
    };
    prop_oneof![
        "[^\u{0}]{1,40}".prop_map(File::Link),
        meta().prop_map(File::Folder),
        (meta(), any::<String>()).prop_map(|(meta, content)| File::Text { meta, content }),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let number = || proptest::option::of(any::<u32>());
    (number(), number(), number()).prop_map(|(quantum, horizon_us, buckets_log)| Options {
        quantum,
        horizon_us,
        buckets_log,
    })
}

fn profiles() -> impl Strategy<Value = Profile> {
    let names = proptest::collection::vec("[a-z0-9_.-]{1,9}", 1..4);
    let mode = prop_oneof![Just(Mode::Auto), Just(Mode::Manual)];
    prop_oneof![
        (names, mode).prop_map(|(names, mode)| Profile { names, mode }),
        Just(Profile { names: Vec::new(), mode: Mode::Off }),
    ]
}

proptest! {
    #[test]
    fn a_file_and_its_text_are_inverse(file in files()) {
        inverse(&file)?;
    }

    #[test]
    fn a_qdisc_and_its_text_are_inverse(
        options in options(), by_default: bool, multi: bool, kind in "[a-z_]{3,10}"
    ) {
        inverse(&Qdisc { by_default, multi, kind, options })?;
    }

    #[test]
    fn a_profile_of_tuned_and_its_text_are_inverse(profile in profiles()) {
        inverse(&profile)?;
    }

    #[test]
    fn rss_and_its_text_are_inverse(
        hash: u8, key in "([0-9a-f]{2}){0,52}", table in "default|runs|[0-9]{1,3}(,[0-9]{1,3}){0,9}"
    ) {
        inverse(&Rss { table, key, hash })?;
    }
}

/// As journals of earlier builds have them.
#[test]
fn what_does_not_say_all_of_it_is_refused() {
    let ok = |text: &str| {
        [
            text.parse::<File>().is_ok(),
            text.parse::<Qdisc>().is_ok(),
            text.parse::<Profile>().is_ok(),
            text.parse::<Rss>().is_ok(),
        ]
    };
    assert_eq!(ok("mode=0644 owner=0:0\nnet.core.somaxconn = 9\n"), [true, false, false, false]);
    assert!(ok("folder mode=0755 owner=0:0")[0]);
    assert!(ok("link ../nettune.service")[0]);
    for bad in
        ["mode=0644\nx", "mode=0999 owner=0:0\nx", "mode=10000 owner=0:0\nx", "mode=0644 owner=0:0"]
    {
        assert!(!ok(bad)[0], "{bad:?}");
    }
    for good in ["fq", "mq fq", "default noqueue", "default mq", "default mq fq_codel quantum=1514"]
    {
        assert!(ok(good)[1], "{good:?}");
    }
    for bad in ["", "default ", "fq horizon-us=x", "fq flow_limit=1"] {
        assert!(!ok(bad)[1], "{bad:?}");
    }
    for bad in ["profile=a", "profile= mode=manual", "profile=a mode=off", "profile=a mode=by"] {
        assert!(!ok(bad)[2], "{bad:?}");
    }
    for bad in ["hash=1 key=6d", "hash=256 key= table=default", "hash= key= table=runs"] {
        assert!(!ok(bad)[3], "{bad:?}");
    }
}
