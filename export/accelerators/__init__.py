"""What accelerators take of a .tflite: its nodes, and in how many partitions."""
