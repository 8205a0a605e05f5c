"""The read wing: requests are answered from a view, without a lock and without the disk room."""
