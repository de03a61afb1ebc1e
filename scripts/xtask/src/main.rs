//! Build, image, run, check and bench recipes.

fn main() {}
