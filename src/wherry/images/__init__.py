"""Images: references, blobs, layers and snapshots, archives, the registry client. Start at `store.ImageStore`."""
