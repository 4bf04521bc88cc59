"""What a run needs beside its data: devices, progress, signals."""
