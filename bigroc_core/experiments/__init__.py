"""What can be done with images, each computed in one function that page, command and figure show."""
