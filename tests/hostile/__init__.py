"""What nobody means well: files, zips, wishes. All of it is made from seeds, and counted."""
