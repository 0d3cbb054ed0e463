#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| flow_exporter_fuzz::avro(input));
