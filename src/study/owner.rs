//! Whose trial it is: the process that runs it, and whether that process still lives.
//!
//! A RUNNING row says nothing about a process that was killed, so each running trial carries its owner: host, boot,
//! process namespace, process id and the time that process started (a process id alone is used again). On the same
//! machine that very process is looked up, which is certain and needs no waiting; for another machine, and where the
//! system has no `/proc`, the answer is [`Life::Unknown`] and the age of the trial's heartbeat decides.

use serde::{Deserialize, Serialize};

/// One process, for as long as the machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The machine's name, for people.
    host: String,
    /// The kernel's identifier of this boot; empty where there is none.
    boot: String,
    /// The namespace of process ids (containers have their own).
    namespace: String,
    /// Process id.
    pid: u32,
    /// When it started, in clock ticks since the boot; 0 where unknown.
    start: u64,
}

/// What is known about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It runs on this machine.
    Alive,
    /// It ran on this machine and is gone.
    Dead,
    /// It cannot be looked up from here.
    Unknown,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").map(|path| path.display().to_string());
        let pid = std::process::id();
        Owner {
            host: read("/proc/sys/kernel/hostname"),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: namespace.unwrap_or_default(),
            pid,
            start: started(pid).unwrap_or(0),
        }
    }

    /// Whether this owner still lives, as seen by `observer`, which is this process.
    pub(crate) fn life(&self, observer: &Owner) -> Life {
        if self == observer {
            return Life::Alive;
        }
        if self.boot.is_empty() || (&self.boot, &self.namespace) != (&observer.boot, &observer.namespace) {
            return Life::Unknown;
        }
        if started(self.pid) == Some(self.start) { Life::Alive } else { Life::Dead }
    }
}

/// When that process started (field 22 of `/proc/PID/stat`); `None` where it is gone or waits to be reaped.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may hold spaces and brackets; what follows its last bracket is plain.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends() {
        let this = Owner::this();
        assert_eq!(this.life(&this), Life::Alive);
        if this.boot.is_empty() {
            return eprintln!("skipped: no /proc here, heartbeats decide");
        }
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let start = started(child.id()).unwrap();
        let other = Owner { pid: child.id(), start, ..this.clone() };
        assert_eq!(other.life(&this), Life::Alive);
        assert_eq!(Owner { start: start + 1, ..other.clone() }.life(&this), Life::Dead, "the number was used again");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(other.life(&this), Life::Dead);
        assert_eq!(Owner { boot: "another".into(), ..other }.life(&this), Life::Unknown);
    }
}
