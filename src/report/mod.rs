//! What a study shows: JSON, CSV and (later) plots, read from its storage alone.

pub mod trials;
