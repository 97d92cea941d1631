//! What a key of a profile may be, in words, from the schema that its type makes.

use serde_json::Value;

use crate::tweaks::Entry;

/// "it is \"auto\" or \"off\"", "it is a whole number, 0 or more".
pub fn told(entry: &Entry, key: &str) -> Option<String> {
    let schema = serde_json::to_value((entry.lever.settings)()).ok()?;
    let mut found = Vec::new();
    collect(schema.get("properties")?.get(key)?, &schema, &mut found, 0);
    found.dedup();
    let last = found.pop()?;
    let head = found.join(", ");
    Some(if head.is_empty() { format!("it is {last}") } else { format!("it is {head} or {last}") })
}

/// It takes a list and nothing else.
pub fn is_list(entry: &Entry, key: &str) -> bool {
    told(entry, key).as_deref() == Some("it is a list in brackets")
}

fn collect(part: &Value, schema: &Value, found: &mut Vec<String>, depth: u8) {
    // A schema of ours is shallow; one that refers to itself shall still end.
    if depth > 8 {
        return;
    }
    let below = |part, found: &mut Vec<String>| collect(part, schema, found, depth + 1);
    if let Some(target) = part["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return below(&schema["$defs"][target], found);
    }
    if let Some(word) = part["const"].as_str() {
        return found.push(format!("{word:?}"));
    }
    if let Some(words) = part["enum"].as_array() {
        return found.extend(words.iter().filter_map(Value::as_str).map(|w| format!("{w:?}")));
    }
    for key in ["anyOf", "oneOf"] {
        for one in part[key].as_array().into_iter().flatten() {
            below(one, found);
        }
    }
    let kinds = match &part["type"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    for kind in kinds {
        match kind {
            "boolean" => found.push("true or false".into()),
            "integer" if part["minimum"] == 0 => found.push("a whole number, 0 or more".into()),
            "integer" => found.push("a whole number".into()),
            "number" => found.push("a number".into()),
            "string" => found.push("a text in quotes".into()),
            "array" => found.push("a list in brackets".into()),
            "object" => found.push(table(part, schema, depth)),
            _ => {}
        }
    }
}

/// What its one key, or each of its keys, may be.
fn table(part: &Value, schema: &Value, depth: u8) -> String {
    let of = |part: &Value| {
        let mut found = Vec::new();
        collect(part, schema, &mut found, depth + 1);
        found.dedup();
        found.join(" or ")
    };
    match (&part["properties"], &part["additionalProperties"]) {
        (Value::Object(keys), _) if keys.len() == 1 => {
            let one = |(key, part): (&String, &Value)| format!("{{ {key} = {} }}", of(part));
            keys.iter().map(one).collect()
        }
        (_, each @ Value::Object(_)) => format!("a table, each value {}", of(each)),
        _ => "a table".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tweaks::{TWEAKS, find, keys};

    #[test]
    fn every_key_of_every_lever_says_what_it_may_be() {
        for entry in TWEAKS {
            for key in keys(entry) {
                assert!(told(entry, &key.name).is_some(), "{}.{}", entry.name, key.name);
            }
        }
        let of = |lever, key| told(find(lever).unwrap(), key).unwrap();
        assert_eq!(of("steering", "xps"), "it is \"auto\" or \"off\"");
        assert_eq!(of("steering", "rfs"), "it is a whole number, 0 or more");
        assert_eq!(of("cpu", "governor"), "it is a text in quotes");
        assert_eq!(of("host-routing", "mode"), "it is \"established\" or \"full\"");
        assert_eq!(of("xdp", "deny"), "it is a list in brackets");
        let bound = "a whole number, 0 or more or a text in quotes";
        assert_eq!(
            of("tcp", "sysctl"),
            format!(
                "it is a table, each value a whole number or a text in quotes or {{ at-least = \
                 {bound} }} or {{ at-most = {bound} }}"
            )
        );
    }
}
