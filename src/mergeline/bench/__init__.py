"""`mergeline bench`: real workers under a described load, and what they did with it.

Needs mergeline[bench]. Nothing that works in production imports this.
"""
