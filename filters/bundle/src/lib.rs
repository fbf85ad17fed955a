//! The filters as WebAssembly modules: one each, or several behind their root_id.
