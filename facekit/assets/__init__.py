"""Files shipped with the package; see manifest.json and the assets page of the docs."""
