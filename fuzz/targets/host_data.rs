#![no_main]

lattice_controller_fuzz::target!(host_data);
