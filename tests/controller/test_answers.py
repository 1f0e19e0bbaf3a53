"""What backends are asked while specs are checked: each question once."""

import pytest

from backends.contract.errors import HyperparametersInvalid
from backends.local_gpu.backend import LocalGpuBackend
from controller.resolve.answers import Answers


class Counting(LocalGpuBackend):
    """The real backend, with a count of the questions that reached it."""

    asked = 0

    def parse_hyperparameters(self, method, raw):
        self.asked += 1
        return super().parse_hyperparameters(method, raw)


def test_equal_hyperparameters_are_parsed_once(tmp_path, make):
    backend, answers = Counting(tmp_path), Answers()
    for _ in range(3):
        one = make.spec(hyperparameters={"num_train_epochs": 2})
        assert answers.hyperparameters(backend, one)["num_train_epochs"] == 2
    assert backend.asked == 1
    assert answers.hyperparameters(backend, make.spec())["num_train_epochs"] == 3
    assert backend.asked == 2


@pytest.mark.parametrize("wrong", [1.0, True, "1", [1]])
def test_what_only_looks_equal_is_parsed_for_itself(tmp_path, make, wrong):
    backend, answers = Counting(tmp_path), Answers()
    right = answers.hyperparameters(backend, make.spec(hyperparameters={"num_train_epochs": 1}))
    assert right["num_train_epochs"] == 1
    for _ in range(2):
        with pytest.raises(HyperparametersInvalid):
            answers.hyperparameters(backend, make.spec(hyperparameters={"num_train_epochs": wrong}))


def test_another_method_is_another_question(tmp_path, make):
    backend, answers = Counting(tmp_path), Answers()
    answers.hyperparameters(backend, make.spec())
    texts = answers.hyperparameters(backend, make.spec(method="continued-pretraining"))
    assert "max_length" in texts
