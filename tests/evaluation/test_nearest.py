import torch

from genoconv.evaluation import nearest


def test_the_label_of_the_nearest_that_was_learnt_from() -> None:
    angles = torch.tensor([0.0, 0.1, 1.5, 1.6, 3.0, 3.1])
    features = torch.stack([angles.cos() * 50, angles.sin(), torch.ones(6)], dim=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    train = torch.tensor([[True, False] * 3, [True] * 4 + [False] * 2])
    found = nearest.predict(features, labels, train)
    assert found.shape == (2, 1, 6)
    assert found[0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert 2 not in found[1, 0].tolist()
    assert found[1, 0, :4].tolist() == [0, 0, 1, 1]
