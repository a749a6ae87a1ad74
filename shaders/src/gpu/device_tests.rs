//! What a device does with dispatches, when it is lost, and with a cache on disk.

use super::device::{Choice, Device, Dispatch, Error};
use super::kernel::{Kernel, Layer};
use super::test_device;

static AFFINE: Layer = Layer {
    name: "affine",
    text: "
struct Params { first: u32, end: u32, factor: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> b: array<u32>;
@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  b[i] = a[i] * params.factor + u32((u64(i) << 33u) >> 33u);
}",
    needs: &[],
};
static KERNEL: Kernel = Kernel {
    name: "affine",
    layer: &AFFINE,
    group: 64,
};

#[test]
fn dispatches_see_what_those_before_wrote() -> Result<(), Error> {
    let device = test_device();
    let n = 1000usize;
    let words: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let (a, b) = (device.upload("a", &words), device.buffer("b", n));
    let mut commands = device.commands();
    for (from, to) in [(&a, &b), (&b, &a)] {
        commands.run(&Dispatch {
            kernel: &KERNEL,
            buffers: &[from, to],
            params: &[3],
            items: n,
            work: 1,
        });
    }
    let (all, none, last) = (
        commands.download(&a, 0, n),
        commands.download(&a, 0, 0),
        commands.download(&a, n - 1, 1),
    );
    let mut outcome = commands.submit().wait()?;
    let once = |i: usize, x: u32| x.wrapping_mul(3).wrapping_add(i as u32);
    let expected: Vec<u32> = words.iter().enumerate().map(|(i, x)| once(i, once(i, *x))).collect();
    assert_eq!(outcome.take(all), expected);
    assert!(outcome.take(none).is_empty());
    assert_eq!(outcome.take(last), expected[n - 1..]);
    Ok(())
}

#[test]
fn a_lost_device_says_so_and_goes_on_saying_so() -> Result<(), Error> {
    let device = Device::open(&Choice {
        timed: true,
        ..Choice::default()
    })?;
    let run = |device: &Device| {
        let buffer = device.upload("a", &[1, 2, 3]);
        let other = device.buffer("b", 3);
        let mut commands = device.commands();
        commands.run(&Dispatch {
            kernel: &KERNEL,
            buffers: &[&buffer, &other],
            params: &[1],
            items: 3,
            work: 1,
        });
        let download = commands.download(&other, 0, 3);
        let mut outcome = commands.submit().wait()?;
        Ok::<_, Error>((outcome.take(download), outcome.times().len()))
    };
    let warm = device.warm_up(&[&KERNEL], |_, _, _, _| ())?;
    assert_eq!((warm.kernels, warm.cached), (1, false));
    let (words, times) = run(&device)?;
    assert_eq!(words, [1, 3, 5]);
    assert!(times <= 1);
    device.lose();
    for _ in 0..2 {
        assert!(matches!(run(&device), Err(Error::Lost { .. } | Error::Failed { .. })));
    }
    assert!(device.check().is_err());
    Ok(())
}

#[test]
fn an_adapter_of_no_such_name() {
    let choice = Choice {
        name: Some("no such adapter".into()),
        ..Choice::default()
    };
    assert!(matches!(Device::open(&choice), Err(Error::NoAdapter { name: Some(_) })));
}

/// The first start builds kernels, the second reads them; a damaged or foreign file is as good as none, and the next start
/// finds a whole one again.
#[test]
fn compiled_kernels_are_kept_on_disk() -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let choice = Choice {
        cache: Some(folder.path().join("deep/er")),
        ..Choice::default()
    };
    let start = || {
        let device = Device::open(&choice)?;
        let warm = device.warm_up(&[&KERNEL], |ready, of, name, _| {
            assert_eq!((ready, of, name), (1, 1, "affine"))
        })?;
        let (from, to) = (device.upload("a", &[7, 8]), device.buffer("b", 2));
        let mut commands = device.commands();
        commands.run(&Dispatch {
            kernel: &KERNEL,
            buffers: &[&from, &to],
            params: &[2],
            items: 2,
            work: 1,
        });
        let download = commands.download(&to, 0, 2);
        assert_eq!(commands.submit().wait()?.take(download), [14, 17]);
        Ok::<_, Error>(warm.cached)
    };
    assert!(!start()?);
    let files: Vec<_> = std::fs::read_dir(folder.path().join("deep/er")).unwrap().collect();
    let [Ok(file)] = files.as_slice() else {
        panic!("one file for one adapter: {files:?}")
    };
    let whole = std::fs::read(file.path()).unwrap();
    assert!(start()?, "the second start reads what the first wrote");
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        whole[32..].to_vec(),
        flipped(0),
        flipped(40),
        flipped(whole.len() - 1),
        [&whole[..], b"x"].concat(),
    ];
    for bytes in damaged {
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(!start()?, "{} bytes of {}", bytes.len(), whole.len());
        assert!(start()?);
    }
    Ok(())
}
