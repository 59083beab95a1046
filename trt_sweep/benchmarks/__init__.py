"""The instrument measured beside what a user would run instead: `trt-sweep bench NAME`."""
