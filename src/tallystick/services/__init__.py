"""The shell around the core: one public function is one operation is one transaction."""
