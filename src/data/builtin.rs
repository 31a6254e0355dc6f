//! The two data sets in the binary; `builtin/README.md` says where they come from.

/// A data set in the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builtin {
    /// What `--data` calls it.
    pub name: &'static str,
    /// The target where none is given.
    pub target: &'static str,
    /// A CSV file, gzip.
    pub bytes: &'static [u8],
}

/// All of them.
pub(crate) const BUILTINS: [Builtin; 2] = [
    Builtin { name: "digits", target: "digit", bytes: include_bytes!("builtin/digits.csv.gz") },
    Builtin {
        name: "california-housing",
        target: "median_house_value",
        bytes: include_bytes!("builtin/california-housing.csv.gz"),
    },
];

/// The built-in set of this name.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|set| set.name == name)
}
