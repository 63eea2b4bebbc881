"""The demo model: what it is trained on, how its training resumes, and what the bundled weights draw."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engines.demo import samples
from engines.demo.attributes import SAID, truth
from engines.demo.captions import describe
from engines.demo.denoiser import Denoiser
from engines.demo.descent import Descent, Settings
from engines.demo.evaluation import check, questions
from engines.demo.groupnorm import normalise
from engines.demo.networks import SIZE, load_pipeline
from engines.demo.packing import SIZE_LIMIT, TooLarge, folder_size
from engines.demo.painting import paint
from engines.demo.reader import train_reader
from engines.demo.samples import SampleStream, twin_captions
from engines.demo.scenes import COLOURS, TWINS, Scene, sample_scene, sample_twins
from engines.demo.vocabulary import build_tokenizer, caption_words, load_tokenizer
from engines.demo.workers import Worker
from engines.detection import DEMO_PATH

ALONE = Worker(0, 1, torch.device("cpu"))


def test_scenes_do_not_contradict_themselves() -> None:
    rng = np.random.default_rng(0)
    for scene in (sample_scene(rng) for _ in range(2000)):
        assert not (scene.sun and scene.time == "night")
        assert not scene.moon or scene.time == "night"
        assert not scene.stars or scene.time == "night"
        assert not scene.boat or scene.water
        assert not scene.cactus or scene.terrain == "desert"
        assert scene.weather != "snow" or scene.season == "winter"


def test_the_same_generator_paints_the_same_picture() -> None:
    scene = Scene(time="sunset", terrain="lake", boat="red", sun=True)
    one = paint(scene, np.random.default_rng(4), size=SIZE)
    two = paint(scene, np.random.default_rng(4), size=SIZE)
    other = paint(scene, np.random.default_rng(5), size=SIZE)
    assert one.shape == (SIZE, SIZE, 3)
    assert (one == two).all()
    assert (one != other).any()


def test_every_attribute_of_a_scene_is_among_the_answers() -> None:
    rng = np.random.default_rng(0)
    for scene in (sample_scene(rng) for _ in range(500)):
        assert all(value in SAID[name] for name, value in truth(scene).items())


def test_twins_differ_in_one_attribute_and_one_word_and_look_alike_elsewhere() -> None:
    rng = np.random.default_rng(1)
    named = set()
    for seed in range(40):
        one, two = sample_twins(rng)
        (differing,) = {name for name, value in one.as_dict().items() if two.as_dict()[name] != value}
        named.add(differing)
        first, second = (text.split(" ") for text in twin_captions((one, two), rng))
        if differing != "cactus":  # which has no word for its absence
            assert sum(word != other for word, other in zip(first, second, strict=True)) == 1
        pictures = [paint(scene, np.random.default_rng(seed), size=SIZE) for scene in (one, two)]
        assert 0 < (pictures[0] != pictures[1]).any(-1).mean() < 0.25
    assert named == set(TWINS)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_caption_names_no_colour_but_that_of_its_object(colour: str) -> None:
    rng = np.random.default_rng(1)
    scene = Scene(time="day", terrain="sea", boat=colour)
    words = {word for _ in range(300) for word in describe(scene, rng).replace(",", "").split()}
    assert words & set(COLOURS) == {colour}
    assert not words & {"house", "moon", "stars", "night", "snowy"}


def test_every_caption_word_is_one_piece_of_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(0)
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    for word in caption_words(1):
        assert len(again(word)["input_ids"]) == 2, word  # the piece and the end
        assert len(again(word.capitalize())["input_ids"]) == 2, word
    assert again.unk_token_id not in again("Ein Hund läuft, xylophone-like Art!")["input_ids"]


def test_the_fast_group_norm_agrees_with_torch() -> None:
    x = torch.randn(3, 32, 8, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gradient = torch.randn(3, 32, 8, 6, generator=torch.Generator().manual_seed(1))
    expected, ours = functional.group_norm(x, 8, eps=1e-6), normalise(x, 8, 1e-6)
    (wanted,) = torch.autograd.grad(expected, x, gradient)
    (got,) = torch.autograd.grad(ours, x, gradient)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def _fit(weight: Tensor, checkpoint: Path, stop_after: int | None) -> Descent:
    """Pulls a weight to 3; ends like a killed process where told to."""
    settings = Settings("fit", learning_rate=0.01, average=0.9, save_every=5)
    descent = Descent(ALONE, [weight], settings, seconds=0.4, checkpoint=checkpoint)

    def loss() -> Tensor:
        if stop_after == descent.step:
            raise KeyboardInterrupt
        return (weight - 3).square().sum()

    descent.run(loss)
    return descent


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        _fit(torch.zeros(1, requires_grad=True), checkpoint, stop_after=13)
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 10
    fresh = torch.zeros(1, requires_grad=True)
    descent = Descent(
        ALONE, [fresh], Settings("fit", learning_rate=0.01, average=0.9), seconds=0.4, checkpoint=checkpoint
    )
    assert descent.step == 10
    assert float(fresh.detach()) == float(state["parameters"][0])


def test_a_training_that_is_not_killed_leaves_the_average(tmp_path: Path) -> None:
    weight = torch.zeros(1, requires_grad=True)
    descent = _fit(weight, tmp_path / "fit.pt", stop_after=None)
    assert descent.step > 20
    assert 0 < float(weight.detach()) < 3.5


def test_a_denoiser_learns_from_single_pictures_and_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "FIRST", 4)
    pipeline, rng = load_pipeline(DEMO_PATH), np.random.default_rng(0)
    stream = SampleStream(pipeline.movq, pipeline.tokenizer, rng)
    batch = stream.batch(2, 1)
    assert (len(batch.single), len(batch.first), len(batch.second)) == (2, 1, 1)
    denoiser = Denoiser(pipeline.unet, pipeline.text_encoder, torch.device("cpu"))
    denoiser.loss(batch, rng).backward()  # type: ignore[no-untyped-call]  # torch
    assert all(p.grad is not None for p in pipeline.unet.parameters())
    assert all(p.grad is None for p in pipeline.text_encoder.parameters())


def test_a_trained_reader_leaves_a_text_encoder(tmp_path: Path) -> None:
    train_reader(ALONE, tmp_path, tokenizer=load_tokenizer(DEMO_PATH), seconds=0.2, seed=0)
    assert (tmp_path / "text_encoder" / "config.json").is_file()


def test_the_evaluation_asks_64_prompts_in_words_foreign_to_training() -> None:
    rng = np.random.default_rng(2)
    captions = {describe(sample_scene(rng), rng) for _ in range(5000)}
    prompts = [question.prompt for question in questions()]
    assert len(set(prompts)) == 64
    assert not captions & set(prompts)


def test_the_pixel_checks_pass_on_painted_scenes() -> None:
    rng = np.random.default_rng(3)
    outcomes: list[bool] = []
    for question in questions():
        wanted = {"time": "day", "terrain": "sea", **question.wanted}
        if wanted.get("moon") or wanted.get("stars"):
            wanted["time"] = "night"
        scene = Scene(**wanted)  # type: ignore[arg-type]  # the questions use the names of a scene's attributes
        outcomes += check(question, paint(scene, rng, size=SIZE)).values()
    assert np.mean(outcomes) > 0.9


def test_the_bundled_weights_are_small() -> None:
    assert folder_size(DEMO_PATH) <= SIZE_LIMIT
    assert json.loads((DEMO_PATH / "model_index.json").read_text())["_class_name"] == "Kandinsky3Pipeline"


def test_a_model_that_is_too_large_says_by_how_much() -> None:
    assert str(TooLarge(13, 12)) == "the packed model takes 13 bytes; 12 are allowed"


@pytest.mark.parametrize(("width", "height"), [(128, 128), (192, 128)])
def test_the_bundled_weights_draw_night_darker_than_day(width: int, height: int) -> None:
    pipeline = load_pipeline(DEMO_PATH)

    def sky(prompt: str) -> float:
        drawn = pipeline(
            prompt, width=width, height=height, num_inference_steps=10, guidance_scale=2.0,
            generator=torch.Generator().manual_seed(0), output_type="np",
        ).images[0]  # fmt: skip
        assert drawn.shape == (height, width, 3)
        return float(drawn[: height // 3].mean())

    assert sky("mountains at night") + 0.2 < sky("mountains in daylight")
