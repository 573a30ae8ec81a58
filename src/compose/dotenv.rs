//! The .env file, edited line by line.
