"""The estimators and SPO+ against other libraries, each in its own environment: `make peers`."""
