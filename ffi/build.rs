//! Names the shared library for the loader and lets nothing undefined into it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // 0 while the ABI may still change between minor versions.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libclerver.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--no-undefined");
    // A program that unloads it would pull the code from under its threads.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
