//! `sqlx::migrate!` reads the folder when it is compiled: a file that is added must compile it again.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
