"""AWS's protocols on one port: requests read, checked and answered as botocore's service models say."""
