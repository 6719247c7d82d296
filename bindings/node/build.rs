//! Tells the linker what an addon is.
fn main() {
    napi_build::setup();
    // Threads of the engine may still run when the last worker that loaded the addon ends.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
