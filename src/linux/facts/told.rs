//! States that gathering facts has read on its way: they are not read again for a plan.

use std::collections::BTreeMap;

use crate::model::{Facts, Resource, State};

/// Of the resources that a node has by the thousand, what the facts say.
pub fn told(facts: &Facts) -> BTreeMap<Resource, State> {
    let mut told = BTreeMap::new();
    let mut tell = |resource: Resource, text: &str| {
        if !text.is_empty() {
            told.insert(resource, State::is(text));
        }
    };
    for link in &facts.links {
        for vector in link.vectors.known().into_iter().flatten() {
            let resource = Resource::Irq { link: link.name.clone(), vector: vector.irq };
            tell(resource, &vector.affinity);
        }
    }
    for policy in &facts.cpus.cpufreq {
        let path = format!("devices/system/cpu/cpufreq/{}/scaling_governor", policy.name);
        tell(Resource::sysfs(path), &policy.governor);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::facts::{cpus, vectors};
    use crate::linux::files::{read_irq, read_sysfs};
    use crate::model::facts::Link;

    /// What the facts say is what a read says.
    #[test]
    fn told_is_as_read() {
        let policy = "sys/devices/system/cpu/cpufreq/policy0";
        let device = "sys/class/net/eth0/device";
        let files = [
            (format!("{policy}/affected_cpus"), "0"),
            (format!("{policy}/scaling_governor"), "schedutil\n"),
            (format!("{device}/msi_irqs/40"), "msix\n"),
            (format!("{device}/msi_irqs/41"), "msix\n"),
            ("proc/irq/40/smp_affinity_list".to_string(), "0-3,8\n"),
            ("sys/kernel/irq/40/actions".to_string(), "eth0-TxRx-0\n"),
        ];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (_dir, root) = super::super::settings::tests::root(&files);
        let mut link = Link { name: "eth0".into(), ..Link::default() };
        link.vectors = vectors::gather(&root, &link, &["40".into(), "41".into()]);
        let facts = Facts { links: vec![link], cpus: cpus::gather(&root), ..Facts::default() };
        let told = told(&facts);
        assert_eq!(told.len(), 2, "{told:?}");
        for (resource, state) in told {
            let read = match &resource {
                Resource::Irq { link, vector } => read_irq(&root, link, *vector, None),
                Resource::Sysfs { path } => read_sysfs(&root, path),
                other => panic!("{other}"),
            };
            assert_eq!(read.unwrap(), state, "{resource}");
        }
    }
}
