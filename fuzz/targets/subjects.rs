#![no_main]

lattice_controller_fuzz::target!(subjects);
