//! The words of a reason, and what the reader can do about it.

use crate::engine::reason::{Reason, Then};
use crate::model::{Impact, Resource};

const FIND_WHO: &str = "find who wrote it; rollback --force puts the old value back";

pub fn text(reason: &Reason) -> String {
    match reason {
        Reason::Lever { text, since: Some(release), .. } => {
            format!("{text} (kernel {release} has it)")
        }
        Reason::Lever { text, .. }
        | Reason::Remark(text)
        | Reason::Desired(text)
        | Reason::Failed(text)
        | Reason::Moved(text)
        | Reason::TakenBack(text) => text.clone(),
        Reason::Off => "the profile does not want it".into(),
        Reason::Idle(why) => (*why).into(),
        Reason::NotAsked => {
            "not asked: --link names links, and this belongs to none of them".into()
        }
        Reason::NothingKept => "nothing comes back at boot".into(),
        Reason::Held(impacts) => format!("its impact is {}", names(impacts).join(" and ")),
        Reason::Absent { resources, all } => {
            let (is, was) = if resources.len() > 1 { ("are", "were") } else { ("is", "was") };
            let left = if *all { String::new() } else { format!(" and {was} left out") };
            format!("{} {is} not here{left}", first(resources))
        }
        Reason::Machine { resources, all } => {
            let is = if resources.len() > 1 { "are" } else { "is" };
            let left = if *all { "" } else { ": left out" };
            let here = "and this is a network namespace of its own";
            format!("{} {is} the whole machine's, {here}{left}", first(resources))
        }
        Reason::Refused { resources, why } => format!("{}: {why}", first(resources)),
        Reason::Unreadable { resource, error } => format!("{resource}: {error}"),
        Reason::Drift { resource, drift } => format!("{resource} {drift}"),
        Reason::Lost { resource, now, applied, .. } => {
            format!("{resource} is {now}, applied was {applied}")
        }
        Reason::NoLonger { resource, now, wanted } => {
            format!("{resource} is {now}; it was as wanted when the profile was applied ({wanted})")
        }
        Reason::ReadOnly(place) => format!("{place} is mounted read-only here"),
        Reason::Foreign { resource, state } => format!("{resource} holds {state}"),
        Reason::Cannot { resource, why } => format!("{resource}: {why}"),
        Reason::Conflict(conflict) => conflict.text.clone(),
        Reason::CniUnknown => {
            "a kubelet is installed, and which CNI it will start is not known yet".into()
        }
        Reason::Unwanted(lever) => format!("cilium.want.{lever} is false"),
        Reason::OtherCni => "the profile says that this node's CNI is not Cilium".into(),
        Reason::Starting => "the agent is still starting: ask again".into(),
        Reason::Decided(_) => "Cilium decides this here; nettune leaves it alone".into(),
        Reason::NoneHere { wanted } => format!("no Cilium here: wants {wanted}"),
        Reason::Live { now, wanted, because } => {
            let because = because.as_ref().map(|b| format!(", because {b}")).unwrap_or_default();
            let towards = if now == wanted { String::new() } else { format!(" -> {wanted}") };
            format!("{now}{towards}{because}")
        }
        Reason::LiveUnknown { why, wanted, .. } => {
            let why = why.as_deref().unwrap_or("neither the agent nor its files tell");
            format!("unknown ({why}) -> {wanted}")
        }
        Reason::Managed(cloud) => format!("{cloud} owns Cilium's configuration here"),
        Reason::StandsOn(stone) => format!("falls with {stone}"),
        Reason::Falls(with) => format!("with it fall {}", with.join(", ")),
    }
}

pub fn fix(reason: &Reason) -> Option<String> {
    let fix = match reason {
        Reason::Lever { fix, .. } => return fix.clone(),
        Reason::Machine { all: true, .. } => "run it in the node's own: nsenter -t 1 -n".into(),
        Reason::NothingKept => "nettune apply -p PROFILE --persist".into(),
        Reason::Held(impacts) => accept(impacts),
        Reason::Drift { .. } => FIND_WHO.into(),
        Reason::NoLonger { .. } => "nettune apply sets it".into(),
        Reason::Lost { then, .. } => match then {
            Then::SetAgain => "nettune apply sets it again".into(),
            Then::Restarted(agent) => {
                format!("{agent} was started since and moved it; nettune apply sets it again")
            }
            Then::FindWho => FIND_WHO.into(),
        },
        Reason::ReadOnly(place) => {
            format!("run nettune on the host itself, or mount -o remount,rw {place}")
        }
        Reason::Foreign { .. } => {
            "take it away with the tool that made it, then run nettune again".into()
        }
        Reason::Cannot { .. } => {
            "correct the profile: nettune show tells where the value comes from".into()
        }
        Reason::Conflict(conflict) => conflict.fix.clone(),
        Reason::CniUnknown => "set cni = \"cilium\" or \"other\" in the profile".into(),
        Reason::Decided(lever) => {
            format!("set it in Cilium's Helm values, or owner = \"nettune\" in [{lever}]")
        }
        Reason::LiveUnknown { root: false, .. } => "sudo nettune check".into(),
        Reason::LiveUnknown { .. }
        | Reason::Remark(_)
        | Reason::Off
        | Reason::Idle(_)
        | Reason::NotAsked
        | Reason::Desired(_)
        | Reason::Failed(_)
        | Reason::Moved(_)
        | Reason::TakenBack(_)
        | Reason::Absent { .. }
        | Reason::Machine { .. }
        | Reason::Refused { .. }
        | Reason::Unreadable { .. }
        | Reason::Unwanted(_)
        | Reason::OtherCni
        | Reason::Starting
        | Reason::NoneHere { .. }
        | Reason::Live { .. }
        | Reason::Managed(_)
        | Reason::StandsOn(_)
        | Reason::Falls(_) => return None,
    };
    Some(fix)
}

/// The words that accept these impacts.
pub fn accept(impacts: &[Impact]) -> String {
    format!("--accept {}", names(impacts).join(","))
}

fn names(impacts: &[Impact]) -> Vec<&'static str> {
    impacts.iter().map(|i| i.name()).collect()
}

/// "a and 3 more": enough to know what is meant.
fn first(resources: &[Resource]) -> String {
    match resources {
        [] => String::new(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
