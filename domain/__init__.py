"""The words this project speaks: values and rules that know no network, no file and no screen."""
