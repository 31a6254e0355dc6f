//! What a module has to be labelled for each instruction: `.target` and `.version`, as an assembler would refuse it.
//!
//! The rows were read off ptxas 13.0, instruction by instruction, from sm_75 and 6.3 on (the least that it takes and
//! that our modules have); what no row names needs no more than those. A row holds where the opcode has its name and
//! all its words; of several rows the highest counts.

use super::{Builder, Decoded};

struct Row {
    name: &'static str,
    /// Each with what must follow it at once.
    words: &'static [&'static str],
    /// Compute capability, with the letter that binds it to one.
    target: &'static str,
    version: (u32, u32),
}

const fn row(name: &'static str, words: &'static [&'static str], target: &'static str, version: (u32, u32)) -> Row {
    Row { name, words, target, version }
}

const ROWS: &[Row] = &[
    row("wgmma", &[], "90a", (8, 0)),
    row("cp", &["async"], "80", (7, 0)),
    row("ldmatrix", &[], "75", (6, 5)),
    row("mma", &["m16n8k8"], "75", (6, 5)),
    row("mma", &["m16n8k4"], "80", (7, 0)),
    row("mma", &["m16n8k16"], "80", (7, 0)),
    row("mma", &["tf32"], "80", (7, 0)),
    row("mma", &["bf16"], "80", (7, 0)),
    row("cvt", &["tf32"], "80", (7, 0)),
    row("cvt", &["bf16"], "80", (7, 0)),
    row("cvt", &["bf16x2"], "80", (7, 0)),
    row("cvt", &["f16x2"], "80", (7, 0)),
    row("cvt", &["f32.bf16"], "80", (7, 1)),
    row("fence", &["proxy"], "90", (8, 0)),
    row("fence", &["cluster"], "90", (7, 8)),
    row("redux", &[], "80", (7, 0)),
    row("ld", &["L2::64B"], "75", (7, 4)),
    row("ld", &["L2::128B"], "75", (7, 4)),
    row("ld", &["L2::256B"], "80", (7, 4)),
    row("ld", &["mmio"], "75", (8, 2)),
    row("ld", &["shared::cta"], "75", (7, 8)),
    row("st", &["shared::cta"], "75", (7, 8)),
    row("ld", &["v8"], "100", (8, 8)),
    row("tanh", &[], "75", (7, 0)),
    row("ex2", &["f16"], "75", (7, 0)),
    row("discard", &[], "80", (7, 4)),
    row("applypriority", &[], "80", (7, 4)),
    row("prefetch", &["L2::evict_last"], "80", (7, 4)),
    row("min", &["NaN"], "80", (7, 0)),
    row("max", &["NaN"], "80", (7, 0)),
    row("min", &["f16"], "80", (7, 0)),
    row("max", &["f16"], "80", (7, 0)),
    row("min", &["bf16"], "80", (7, 0)),
    row("max", &["bf16"], "80", (7, 0)),
    row("fma", &["relu"], "80", (7, 0)),
    row("fma", &["bf16"], "80", (7, 0)),
    row("neg", &["bf16"], "80", (7, 0)),
    row("abs", &["bf16"], "80", (7, 0)),
    row("add", &["bf16"], "90", (7, 8)),
    row("sub", &["bf16"], "90", (7, 8)),
    row("mul", &["bf16"], "90", (7, 8)),
    row("setp", &["bf16"], "90", (7, 8)),
    row("red", &["bf16x2"], "90", (7, 8)),
    row("atom", &["bf16x2"], "90", (7, 8)),
];

/// Compute capability and letter of `sm_90a` or `90a`; nothing of what is no such name.
fn parts(target: &str) -> Option<(u32, &str)> {
    let digits = target.trim_start_matches("sm_");
    let letters = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    Some((digits[..digits.len() - letters.len()].parse().ok()?, letters))
}

/// Whether code for that target may have what needs this one.
fn has(target: &str, needed: &str) -> bool {
    match (parts(target), parts(needed)) {
        (Some((has, _)), Some((needs, ""))) => has >= needs,
        (has, needs) => has == needs,
    }
}

impl Builder<'_, '_> {
    /// Refuses an instruction that the module's label does not promise.
    pub(super) fn labelled(&self, opcode: &str) -> Decoded<()> {
        let (name, rest) = opcode.split_once('.').unwrap_or((opcode, ""));
        let rest = format!(".{rest}.");
        let there = |word: &&str| rest.contains(&format!(".{word}."));
        let rows = ROWS.iter().filter(|row| row.name == name && row.words.iter().all(there));
        for &Row { target, version, .. } in rows {
            if !has(self.text.target, target) {
                return self.error(format!("`{opcode}` needs .target sm_{target}, not {}", self.text.target));
            }
            if self.text.version < version {
                let ((major, minor), (has, too)) = (version, self.text.version);
                return self.error(format!("`{opcode}` needs .version {major}.{minor}, not {has}.{too}"));
            }
        }
        Ok(())
    }
}
