//! The live device.
