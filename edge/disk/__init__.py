"""The disk room: everything that opens, writes, checks or names a file of a shard."""
