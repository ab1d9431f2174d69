"""Neural architecture search: MixPath, TF-NAS and TNAS on one set of spaces, one engine and one ranking."""
