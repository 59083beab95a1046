"""What a user would run for each point instead: compile a model of torchvision's, time 100 calls by a wall clock."""

import argparse
import time

import torch
import torch_tensorrt
import torchvision

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="resnet18")
parser.add_argument("--precision", choices=["fp16", "fp32"], default="fp16")
options = parser.parse_args()

dtype = torch.float16 if options.precision == "fp16" else torch.float32
model = torchvision.models.get_model(options.model).eval().cuda().to(dtype)
inputs = (torch.randn(1, 3, 224, 224, device="cuda", dtype=dtype),)
with torch.no_grad():
    program = torch.export.export(model, inputs)
    compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=inputs)
    for _ in range(10):
        compiled(*inputs)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(100):
        compiled(*inputs)
    torch.cuda.synchronize()
print(f"{(time.perf_counter() - start) * 10:.4f} ms")
