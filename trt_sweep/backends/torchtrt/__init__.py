"""Call the installed Torch-TensorRT, of any version from 2.11 to 2.14."""
