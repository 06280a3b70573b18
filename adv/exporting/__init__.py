"""Write a net as stand-alone source code for the course template."""
