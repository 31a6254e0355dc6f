//! The modules of kernels that come with the program, and which of them a GPU and its driver take.
//!
//! They are texts of PTX, compiled beforehand (`cuda/build`) and translated by the driver when they are loaded. A
//! driver takes a text whose version it knows, for GPUs from the text's target on; a target with a letter is for that
//! GPU alone.

use std::collections::HashMap;

/// A module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Module {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub ptx: &'static str,
}

/// All of them, the most special first. A kernel is taken from the first module that is taken and has it.
pub const MODULES: &[Module] = &[
    Module { name: "wgmma90a", ptx: include_str!("../../../cuda/ptx/wgmma90a.ptx") },
    Module { name: "mma80", ptx: include_str!("../../../cuda/ptx/mma80.ptx") },
    Module { name: "simt", ptx: include_str!("../../../cuda/ptx/simt.ptx") },
];

/// The PTX version that a driver knows by its CUDA version (12040 is 12.4); NVIDIA's release notes of the PTX ISA.
fn ptx_of_driver(cuda: i32) -> (u32, u32) {
    let (major, minor) = (cuda / 1000, cuda % 1000 / 10);
    match (major, minor) {
        (..11, _) => (6, 3),
        (11, minor) => (7, minor.clamp(0, 8) as u32),
        (12, 0..=4) => (8, minor as u32),
        (12, 5 | 6) => (8, 5),
        (12, 7) => (8, 6),
        (12, 8) => (8, 7),
        (12, _) => (8, 8),
        (major, minor) => (9 + (major - 13) as u32, minor as u32),
    }
}

impl Module {
    /// What follows a directive at the start of the text.
    fn directive(&self, name: &str) -> &'static str {
        let line = self.ptx.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("", str::trim)
    }

    /// `.version`
    pub fn version(&self) -> (u32, u32) {
        let (major, minor) = self.directive(".version ").split_once('.').unwrap_or(("0", "0"));
        (major.parse().unwrap_or(u32::MAX), minor.parse().unwrap_or(u32::MAX))
    }

    /// Whether a GPU of this compute capability takes it, with a driver of this CUDA version.
    pub fn suits(&self, (major, minor): (i32, i32), cuda: i32) -> bool {
        let target = self.directive(".target ").trim_start_matches("sm_");
        let digits = target.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let Ok(wanted) = digits.parse::<i32>() else { return false };
        let has = 10 * major + minor;
        self.version() <= ptx_of_driver(cuda) && if digits == target { has >= wanted } else { has == wanted }
    }

    /// Its kernels with the threads of a block that each was compiled for.
    pub fn kernels(&self) -> HashMap<&'static str, u32> {
        let mut kernels = HashMap::new();
        let mut entry = None;
        for line in self.ptx.lines() {
            if let Some((_, rest)) = line.split_once(".entry ") {
                entry = rest.split(['(', ' ']).next();
            } else if let Some(rest) = line.strip_prefix(".maxntid ").or_else(|| line.strip_prefix(".reqntid "))
                && let Some(name) = entry.take()
            {
                let threads = rest.split(',').map(|n| n.trim().parse::<u32>().unwrap_or(1)).product();
                kernels.insert(name, threads);
            }
        }
        kernels
    }
}

/// The modules that a GPU takes, the most special first.
pub fn suitable(capability: (i32, i32), cuda: i32) -> impl Iterator<Item = &'static Module> {
    MODULES.iter().filter(move |module| module.suits(capability, cuda))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_takes_what_its_driver_knows_for_targets_up_to_its_own() {
        let module = |ptx| Module { name: "", ptx };
        let simt = module(".version 6.3\n.target sm_75\n");
        assert!(simt.suits((7, 5), 11040) && simt.suits((12, 0), 13000) && !simt.suits((7, 0), 12000));
        let tensor = module(".version 7.0\n.target sm_80\n");
        assert!(tensor.suits((9, 0), 11000) && !tensor.suits((7, 5), 12040) && !tensor.suits((8, 0), 10020));
        let hopper = module(".version 8.0\n.target sm_90a\n");
        assert!(hopper.suits((9, 0), 12000) && !hopper.suits((10, 0), 13000) && !hopper.suits((9, 0), 11080));
        assert!(!module("").suits((9, 0), 13000));
    }

    #[test]
    fn every_module_says_what_it_is_and_has_kernels() {
        for module in MODULES {
            assert!(module.suits((9, 0), 13000), "{}: {:?}", module.name, module.version());
            let kernels = module.kernels();
            assert!(kernels.values().all(|threads| (1..=1024).contains(threads)), "{kernels:?}");
        }
        let simt = MODULES.last().unwrap().kernels();
        for kernel in
            ["forward_s", "backward_n", "learn_l", "gather", "loss", "link", "total", "count", "norms", "turn"]
        {
            assert!(simt.contains_key(kernel), "{kernel} is not in {simt:?}");
        }
        assert!(["update", "finish", "tick", "layout"].iter().all(|kernel| simt.contains_key(kernel)));
        let entries = MODULES.iter().map(|module| module.ptx.matches(".entry ").count()).sum::<usize>();
        let known = MODULES.iter().map(|module| module.kernels().len()).sum::<usize>();
        assert_eq!(entries, known, "a kernel without a number of threads");
    }
}
