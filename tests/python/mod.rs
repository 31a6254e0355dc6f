//! The interpreters with the real Optuna that tests hold this program against.

/// `HPT_PYTHON`, unless it is empty; says where tests are skipped for want of it.
pub fn pythons() -> Option<String> {
    let pythons = std::env::var("HPT_PYTHON").ok().filter(|pythons| !pythons.is_empty());
    if pythons.is_none() {
        let required = std::env::var("HPT_REQUIRE_PYTHON").is_ok_and(|required| required == "1");
        assert!(!required, "HPT_PYTHON names no interpreter, and HPT_REQUIRE_PYTHON=1");
        eprintln!("skipped: HPT_PYTHON names no interpreter with Optuna");
    }
    pythons
}
